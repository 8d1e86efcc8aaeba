"""Other projects' engines as contenders; run in their own interpreter, never imported by ours."""
