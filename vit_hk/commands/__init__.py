"""What a person does with a trained model beside the pipeline: python -m vit_hk COMMAND."""
