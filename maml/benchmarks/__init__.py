"""How fast this machine is: each number beside what it is compared with, measured in one run."""
