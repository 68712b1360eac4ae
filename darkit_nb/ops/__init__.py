"""Fast implementations of the law and the choice between them."""
