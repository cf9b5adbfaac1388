document.body.textContent = 'hello preview'
if (import.meta.webpackHot) import.meta.webpackHot.accept()
