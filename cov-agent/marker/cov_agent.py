"""Tells cov-agent which test, request or phase this process is in. Copy this file into a project; it needs nothing.

    import cov_agent
    cov_agent.context("login, second try")
    ...
    cov_agent.context()        # none any more

For suites of unittest: let test cases derive from cov_agent.TestCase instead of unittest.TestCase.

SPDX-License-Identifier: MIT OR Apache-2.0
"""

import os
import unittest

_VARIABLE = "COV_AGENT_CONTEXT"


def context(name=None):
    """From now on this process, all its threads, is in the context `name`; in none without one."""
    # Not os.environ: programs that a test starts need not see it.
    if name is None:
        os.unsetenv(_VARIABLE)
    else:
        os.putenv(_VARIABLE, name)


class TestCase(unittest.TestCase):
    """A test case each of whose tests is a context."""

    def run(self, result=None):
        context(self.id())
        try:
            return super().run(result)
        finally:
            context()
