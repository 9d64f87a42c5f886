"""The short way in: `load(checkpoint)`, call it as a pipeline of diffusers is called, save the result. Above the session.

`arguments` reads what was asked for into recipes, `watching` tells a callback of the steps, `result` is what comes back.
"""
