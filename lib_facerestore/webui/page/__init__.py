"""The gradio controls of the accordion, the face strip and the models tab."""
