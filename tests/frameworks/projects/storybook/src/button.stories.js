import { label } from './label.js'
export default { title: 'Button', render: ({ who }) => `<button>${label(who)}</button>` }
export const Plain = { args: { who: 'preview' } }
