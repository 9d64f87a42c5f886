"""Other ways into the same Session: the studio as an app."""
