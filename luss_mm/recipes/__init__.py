"""Recipes: settings, how references to them are resolved, and what is checked before a run."""
