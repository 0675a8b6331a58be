"""A page in the browser: generate with trained models, compare, listen, look. Needs the extra 'ui'."""
