from acestep_lab.listen import listen


def analyze(sound, bpm=None):
    audio = getattr(sound, "audio", sound)
    return listen(audio, sound.recipe.bpm if bpm is None and hasattr(sound, "recipe") else bpm)
