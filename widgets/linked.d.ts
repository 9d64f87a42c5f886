// What ui/assets.py puts in front of every component: the style, and the words of each language by section and key.
declare const LOCALES: Record<string, { language: string; direction: string; words: Record<string, any> }>;
