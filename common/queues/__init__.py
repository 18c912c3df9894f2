"""What rings."""
