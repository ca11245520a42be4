"""What every process does alike: read settings, log, start or refuse to, end on a signal, die with its parent."""
