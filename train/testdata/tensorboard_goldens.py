"""An event file by TensorBoard's own writer.

Run:      python train/testdata/tensorboard_goldens.py    (pip install tensorboard)
Made by:  Python 3.11, tensorboard 2.21.0.

Writes events.tfevents beside itself: the file version, one step's scalars, one evaluation's, at fixed times.
"""

import os

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

TIME = 1700000000.25


def scalars(step, **values):
    summary = Summary(value=[Summary.Value(tag=k.replace("__", "/"), simple_value=v) for k, v in values.items()])
    return Event(wall_time=TIME, step=step, summary=summary)


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "events.tfevents"), "wb") as f:
    writer = RecordWriter(f)
    writer.write(Event(wall_time=TIME, file_version="brain.Event:2").SerializeToString())
    writer.write(scalars(1, grad_norm=2.5, loss=0.6875, lr=5e-5, tokens=300.0).SerializeToString())
    writer.write(scalars(300, dev__accuracy=0.75, dev__loss=0.5).SerializeToString())
