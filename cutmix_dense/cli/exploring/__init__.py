"""The pieces of ``cutmix-dense explore``: what a method can be set to, pictures to try it on, drawings, code, the page.

Only ``page`` knows Gradio; all else is plain Python and can be tested without a browser.
"""
