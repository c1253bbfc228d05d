"""Prediction of points that were not measured, from those that were: see docs/prediction.md."""
