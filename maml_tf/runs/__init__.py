"""What every run needs, whatever it trains: settings, command line, loop, checkpoints and logs. Knows no learner."""
