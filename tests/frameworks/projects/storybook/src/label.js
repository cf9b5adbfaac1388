export const label = (who) => `hello ${who}`
