"""What every run needs, whatever learner it trains: settings, command line, loop, checkpoints and logs."""
