"""What the buttons of the studio do: one controller for each part of the page, each with its own components.

A controller makes its components, listens to them, and hears what happens on the page (`base.Controller`). It reaches the
others only through the `Studio`: what is selected, what begins, what is listed.
"""
