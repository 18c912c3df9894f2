"""The commands of the command line, one file per noun. None imports anything heavy before it is run."""
