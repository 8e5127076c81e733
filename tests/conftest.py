"""TensorFlow as main.py sets it up, before anything imports it: bits depend on oneDNN being on or off."""

import main

main.set_up_tensorflow(jit=True)
