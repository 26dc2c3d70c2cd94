"""What features make the model write."""
