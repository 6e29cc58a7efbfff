"""The commands of `a2sg`, each in its own file; what a command needs is imported when it runs."""
