"""The points' copies in the stores: present, read back, whole, repaired, brought to the next store."""
