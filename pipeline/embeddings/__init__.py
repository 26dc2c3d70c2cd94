"""What features mean, as a sentence encoder reads their labels and examples."""
