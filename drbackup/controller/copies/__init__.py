"""The points' copies in the stores: checked for presence, read back, judged, repaired, copied to more stores."""
