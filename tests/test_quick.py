"""The list of quick tests does not rot."""


def test_quick_tests_are_there(missing_quick_tests):
    assert missing_quick_tests == set()
