"""Shows the tallies of the campaigns after all tests."""


def pytest_terminal_summary(terminalreporter):
    """Prints the counts of each campaign, which its tests record as the property "tally"."""
    reports = [r for results in ("passed", "failed") for r in terminalreporter.stats.get(results, [])]
    lines = [text for report in reports for name, text in report.user_properties if name == "tally"]
    if lines:
        terminalreporter.section("campaigns")
        terminalreporter.write_line("\n".join(lines))
