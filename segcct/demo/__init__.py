"""`segcct demo`: the main job from an empty folder, by the commands that a user would type, on synthetic cases."""
