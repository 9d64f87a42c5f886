"""Other doors into the same Session: the studio as an app."""
