"""What the command line does beside running stages."""
