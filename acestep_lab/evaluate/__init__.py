"""`acestep-lab evaluate`: what a checkpoint can do, measured, with chance and ceiling beside every metric.

Fixed prompts (`prompts.json`, each written for a synthetic song), fixed seeds, deterministic measures. *Chance* is the same sound
measured against another prompt; the *ceiling* is the prompt's own song after a round trip through the checkpoint's autoencoder.
A metric without both says little: an octave-tolerant tempo is right by chance on every tenth song.

`speeds()` is the other half: how quickly each installed checkpoint works here, and in how much memory.
"""

from acestep_lab.evaluate.evaluation import MEASURES, evaluate
from acestep_lab.evaluate.prompts import Prompt, prompts
from acestep_lab.evaluate.report import Metric, Report
from acestep_lab.evaluate.speed import Speed, SpeedTable, measure, speeds

__all__ = ["MEASURES", "Metric", "Prompt", "Report", "Speed", "SpeedTable", "evaluate", "measure", "prompts", "speeds"]
