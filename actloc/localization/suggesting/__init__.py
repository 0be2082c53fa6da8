"""What to annotate next: windows of unlabelled footage, how a run sees them, and which of them to choose."""
