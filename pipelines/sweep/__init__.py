"""Many runs from one command line: each in a process and a folder of its own, one index of all."""
