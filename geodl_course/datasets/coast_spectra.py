"""What the ground of the generated coasts reflects: one table, and what real Sentinel-2 showed.

Reflectances in the order of land_water.BANDS: red, green, blue, near and short-wave infrared (B04 B03 B02 B08 B11).
The table is of our choosing, such that the chips' percentiles lie near REAL. No spectral library was copied.
"""

import numpy as np

COVERS = ("water", "forest", "field", "grass", "town", "bare")  # the known map holds their places in this list

SPECTRA = {
    # plants
    "broadleaf": (0.025, 0.048, 0.018, 0.36, 0.160), "conifer": (0.030, 0.042, 0.024, 0.22, 0.115),
    "scrub": (0.075, 0.075, 0.048, 0.21, 0.205), "meadow": (0.050, 0.080, 0.038, 0.38, 0.200),
    "dry grass": (0.165, 0.135, 0.088, 0.26, 0.320),
    # fields through the year
    "lush": (0.032, 0.070, 0.030, 0.46, 0.180), "growing": (0.065, 0.085, 0.045, 0.33, 0.210),
    "ripe": (0.190, 0.165, 0.100, 0.30, 0.320), "stubble": (0.220, 0.180, 0.125, 0.30, 0.370),
    "dark soil": (0.085, 0.072, 0.055, 0.14, 0.190), "red soil": (0.185, 0.120, 0.080, 0.26, 0.310),
    "pale soil": (0.255, 0.210, 0.155, 0.33, 0.390),
    # bare ground
    "rock": (0.185, 0.165, 0.135, 0.24, 0.270), "sand": (0.310, 0.270, 0.210, 0.36, 0.400),
    "wet sand": (0.150, 0.130, 0.105, 0.17, 0.150), "quarry": (0.380, 0.350, 0.300, 0.43, 0.430),
    "track": (0.200, 0.170, 0.130, 0.27, 0.310),
    # towns
    "tiles": (0.205, 0.135, 0.100, 0.27, 0.290), "concrete": (0.170, 0.165, 0.150, 0.20, 0.215),
    "white roof": (0.420, 0.410, 0.395, 0.43, 0.380), "dark roof": (0.075, 0.070, 0.068, 0.10, 0.115),
    "blue roof": (0.140, 0.185, 0.265, 0.27, 0.260), "tan roof": (0.290, 0.245, 0.195, 0.33, 0.340),
    "asphalt": (0.098, 0.093, 0.085, 0.13, 0.150), "container": (0.170, 0.120, 0.105, 0.21, 0.230),
    # water without glint, and what floats on it
    "deep sea": (0.007, 0.018, 0.026, 0.004, 0.002), "green sea": (0.014, 0.036, 0.032, 0.008, 0.003),
    "lake": (0.026, 0.042, 0.026, 0.016, 0.006), "silt": (0.105, 0.095, 0.060, 0.050, 0.012),
    "bottom": (0.150, 0.160, 0.130, 0.18, 0.150), "weed": (0.040, 0.055, 0.035, 0.06, 0.040),
    "foam": (0.480, 0.480, 0.470, 0.40, 0.130), "ship": (0.260, 0.230, 0.220, 0.29, 0.270),
    # clouds
    "cloud": (0.620, 0.610, 0.620, 0.66, 0.480),
}  # fmt: skip
SPECTRA = {name: np.float32(values) for name, values in SPECTRA.items()}

FADE = np.float32([0.42, 0.11, 0.075, 2.5, 40.0])  # 1/m: how fast light dies in clear sea water, down and up again

# 5th and 95th percentile of the pixels of real chips of one kind (all of sentinel_coast): each band, NDVI and MNDWI.
REAL = {
    "water": {
        "red": (0.008, 0.061), "green": (0.018, 0.063), "blue": (0.022, 0.064), "nir": (0.004, 0.059),
        "swir": (0.001, 0.055), "NDVI": (-0.38, 0.00), "MNDWI": (0.05, 0.87),
    },
    "land": {
        "red": (0.027, 0.287), "green": (0.040, 0.250), "blue": (0.022, 0.216), "nir": (0.091, 0.377),
        "swir": (0.109, 0.379), "NDVI": (0.02, 0.80), "MNDWI": (-0.58, -0.06),
    },
}  # fmt: skip
