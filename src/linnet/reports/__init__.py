"""HTML pages about results; they read artifacts and decide nothing."""
