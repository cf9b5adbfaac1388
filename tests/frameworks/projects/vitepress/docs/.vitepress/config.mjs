export default { title: 'hello' }
