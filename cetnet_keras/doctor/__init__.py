"""What of an installation and its machine is as it should be, and how to mend the rest. No module here is heavy."""
