# What a tool that counts with breakpoints does: one on every statement, none ever taken away.
import os

import gdb


class Statement(gdb.Breakpoint):
    def stop(self):
        return False


for setting in ("pagination off", "confirm off", "breakpoint always-inserted on"):
    gdb.execute("set " + setting)
linked = int(gdb.parse_and_eval("(long)&main"))
gdb.execute("starti", to_string=True)
moved = int(gdb.parse_and_eval("(long)&main")) - linked
with open(os.environ["STATEMENTS"]) as addresses:
    for address in addresses:
        Statement(f"*{int(address, 16) + moved}", internal=True)
gdb.execute("continue")
