"""Begins to count this process's Python lines for cov-agent, then is as if it had not been there.

Python imports it because cov-agent put its directory into PYTHONPATH. Works, and does nothing but say so, in every
Python since 2.7.
"""

import os
import sys


def begin():
    here = os.path.dirname(os.path.abspath(__file__))
    # The program finds its path, and the modules that are loaded, as they would be without this file.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    sys.path_importer_cache.pop(here, None)
    try:
        if not hasattr(sys, "monitoring"):
            raise RuntimeError("Python %d.%d has no sys.monitoring, which came with 3.12" % sys.version_info[:2])
        with open(os.path.join(here, "monitor.py"), "rb") as file:
            text = file.read()
        exec(compile(text, "<cov-agent>", "exec"), {"__name__": "cov-agent", "HERE": here})
    except Exception as error:
        say(here, error)


def say(here, error):
    """Leaves word for cov-agent why this process is not counted."""
    try:
        name = os.path.join(here, "data", "%d.refused" % os.getpid())
        with open(name, "w") as file:
            file.write("%s: %s" % (sys.executable, error))
    except Exception:
        # Nobody can be told: the program's own output stays as it is.
        pass


begin()
del sys.modules["sitecustomize"]
# The one that would have been imported. Where there is none, this raises what Python expects.
import sitecustomize
