import js from '@eslint/js'
import jsdoc from 'eslint-plugin-jsdoc'
import globals from 'globals'

export default [
  { ignores: ['.bootstrap/', '.pythons/', 'node_modules/', '.venv/', '.comfyui/', '.demo/', 'build/', 'dist/'] },
  js.configs.recommended,
  {
    files: ['web/**/*.js', 'web/**/*.mjs'],
    plugins: { jsdoc },
    languageOptions: { globals: globals.browser },
    rules: {
      'array-callback-return': 'error',
      complexity: ['error', 12],
      'consistent-return': 'error',
      curly: ['error', 'multi-line'],
      'default-case-last': 'error',
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'jsdoc/check-param-names': 'error',
      'jsdoc/check-tag-names': ['error', { typed: false }],
      'jsdoc/no-undefined-types': 'off',
      'max-lines': ['error', { max: 450, skipBlankLines: true }],
      'no-alert': 'error',
      'no-console': ['error', { allow: ['warn', 'error'] }],
      'no-eval': 'error',
      'no-implicit-coercion': ['error', { boolean: false }],
      'no-implied-eval': 'error',
      'no-param-reassign': 'error',
      'no-promise-executor-return': 'error',
      'no-restricted-properties': [
        'error',
        { property: 'innerHTML', message: 'Use textContent or replaceChildren.' },
        { property: 'outerHTML', message: 'Use replaceWith.' },
        { property: 'insertAdjacentHTML', message: 'Use append or replaceChildren.' },
      ],
      'no-self-compare': 'error',
      'no-shadow': 'error',
      'no-throw-literal': 'error',
      'no-unmodified-loop-condition': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'no-use-before-define': ['error', { functions: false, classes: false }],
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'prefer-template': 'error',
      'require-atomic-updates': 'error',
    },
  },
  // The words of one language stay together in one list.
  { files: ['web/js/strings/*'], rules: { 'max-lines': 'off' } },
]
