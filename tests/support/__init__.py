"""What tests are made of: cities (installations with data), doubles (the other side), services (real servers)."""
