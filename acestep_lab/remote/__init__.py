"""A session elsewhere: the same verbs over HTTP, on a machine that needs no torch.

`Session.connect("http://gpu-box:8001", key=…)` gives a `RemoteSession`. It talks to the `/v1/lab` routes of the REST door
(`serve/api_lab*.py`), which the box runs beside ACE-Step's own.
"""
