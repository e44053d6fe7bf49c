"""A model of the course as SAHI takes one: a batch of slices at a time."""

import numpy as np
import torch
from sahi.models.base import DetectionModel
from sahi.prediction import ObjectPrediction
from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list


class Wrapped(DetectionModel):
    """model: the module and what its images are like, {"classes", "mean", "std", ...}."""

    def set_model(self, model, **settings):
        self.model, self.data = model
        self.category_mapping = {str(i): name for i, name in enumerate(self.data["classes"], start=1)}

    @torch.no_grad()
    def perform_batch_inference(self, images):
        mean, std = (np.array(self.data[name], np.float32) for name in ("mean", "std"))
        scaled = [((image.astype(np.float32) - mean) / std).transpose(2, 0, 1) for image in images]
        self._original_predictions = self.model(torch.from_numpy(np.stack(scaled))).per_image()

    def perform_inference(self, image):
        self.perform_batch_inference([image])

    def _create_object_prediction_list_from_original_predictions(self, shift_amount_list=None, full_shape_list=None):
        places = fix_shift_amount_list(shift_amount_list), fix_full_shape_list(full_shape_list)
        self._object_prediction_list_per_image = [
            [ObjectPrediction(bbox=box, category_id=label, category_name=self.category_mapping[str(label)], score=score,
                              shift_amount=shift, full_shape=shape)
             for box, label, score in zip(*(one[name].tolist() for name in ("boxes", "labels", "scores")), strict=True)
             if score >= self.confidence_threshold]
            for one, shift, shape in zip(self._original_predictions, *places, strict=True)
        ]  # fmt: skip
