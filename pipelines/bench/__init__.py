"""Speed and memory on this machine: one module a thing that is measured, `job` chooses."""
