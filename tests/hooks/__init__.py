"""What the product is asked."""
