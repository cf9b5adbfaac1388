const longest = 80;  // characters

/**
 * What a program calls its terminal (OSC 0 and 2), as text to show: on one line, of bearable length, and without characters
 * that would change the order of what stands around it.
 */
export function shownTitle(title: string): string {
  const plain = title
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
    .replace(/[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g, '')
    .trim();
  const characters = [...plain];
  return characters.length > longest ? `${characters.slice(0, longest - 1).join('')}…` : plain;
}
