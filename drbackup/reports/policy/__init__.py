"""The reference of policies and their schemas, made from the models."""
