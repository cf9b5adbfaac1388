import { greet } from './greet.ts'
document.title = greet('preview')
if (import.meta.hot) import.meta.hot.accept()
